"""Capture, redaction and storage of log lines: whole lines in, nothing secret out, no caller ever blocked."""
