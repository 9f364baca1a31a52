-- What doctor wants to know of the server itself, in one row: durability, standbys, vacuum,
-- connections, notifications, and the isolation level of this session and of its login's own ones.
-- Nothing here needs pg_read_all_stats: without it the views of sessions hide what they say of others, so
-- synchronous standbys are known by the setting, connections by the databases' own counts.
select current_setting('server_version') as version,
    current_setting('fsync') = 'on' as fsync, current_setting('full_page_writes') = 'on' as full_page_writes,
    current_setting('synchronous_commit') as synchronous_commit,
    current_setting('synchronous_standby_names') <> '' as synchronous,
    (select count(*) from pg_stat_replication as r) as standbys,
    current_setting('autovacuum') = 'on' and current_setting('track_counts') = 'on' as autovacuum,
    current_setting('autovacuum_freeze_max_age')::bigint as freeze_age_max,
    (select age(d.datfrozenxid)::bigint from pg_database as d where d.datname = current_database()) as xid_age,
    (select mxid_age(d.datminmxid)::bigint from pg_database as d where d.datname = current_database()) as mxid_age,
    current_setting('max_connections')::bigint as connections_most,
    current_setting('superuser_reserved_connections')::bigint
        + coalesce(current_setting('reserved_connections', true)::bigint, 0) as connections_reserved,
    (select sum(d.numbackends)::bigint from pg_stat_database as d) as connections_used,
    pg_notification_queue_usage() as notify_usage,
    current_setting('transaction_isolation') as isolation,
    (select split_part(c, '=', 2)
        from pg_db_role_setting as s cross join unnest(s.setconfig) as c
        where c like 'default_transaction_isolation=%%'
            and s.setdatabase in (0, (select d.oid from pg_database as d where d.datname = current_database()))
            and s.setrole in (0, (select u.oid from pg_roles as u where u.rolname = session_user))
        order by s.setrole <> 0 desc, s.setdatabase <> 0 desc limit 1) as login_isolation,
    quote_ident(session_user) as login, pg_has_role('pg_read_all_stats', 'usage') as sees_all
