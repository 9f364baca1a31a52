-- Back to the bound that the session was started with.
reset statement_timeout
