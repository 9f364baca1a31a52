-- The timeline that the server writes on, as the names of its WAL files say it; 0 on a standby.
select case when pg_is_in_recovery() then 0
    else ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint end
