"""One run of prx: what lives from the command to the last line, around the supervisor."""
