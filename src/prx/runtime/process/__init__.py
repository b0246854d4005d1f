"""Child processes: started hermetically, read to the end, ended as a whole, and never left behind."""
