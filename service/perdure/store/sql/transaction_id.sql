-- The id of this transaction, null if it has written nothing: its fate can be asked for afterwards.
select pg_current_xact_id_if_assigned()::text
