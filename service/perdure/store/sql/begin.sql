-- How a transaction of ours begins. What start-up options set elsewhere has to be said here behind a pooler. A
-- client may be frozen before it commits: the server ends it then, or what it has locked is hidden from recovery,
-- which waits for nobody. `milliseconds` is put in by the text: several statements take no parameters.
begin isolation level read committed;
set local idle_in_transaction_session_timeout = %(milliseconds)s
