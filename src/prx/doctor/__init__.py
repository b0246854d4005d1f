"""What `prx doctor` checks: the machine, the network, and each tunnel of the configuration.

Checks return findings (`finding`): a verdict, what was seen, and a remedy. `examine` runs all checks at once within a bound.
The checks lie in `machine` (files, environment), `reach` (the way to the edge, clock), `names` (DNS), `client` (program and
token) and `service` (local service and public URL). Nothing is changed by any of them, and nothing is asked that could plant a
wrong answer in another resolver's cache.
"""
