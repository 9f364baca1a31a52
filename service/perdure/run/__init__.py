"""Do the work: claim, run, finish, beat, recover, and say what has happened."""
