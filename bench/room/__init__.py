"""The room in which outages are measured: one lab, one service, visitors, and who keeps the tunnel up (a *subject*).

Everything is a process of its own and is talked to from outside: prx through its command line, its events and its control
socket, the lab through its control endpoint. A scene lives in namespaces of its own for processes and network (`namespace`), so
that many scenes can run side by side, the network can be taken away, and nothing is left behind.
"""
