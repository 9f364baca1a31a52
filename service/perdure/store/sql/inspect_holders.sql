-- Who keeps dead rows from being removed, oldest first: sessions, prepared transactions, replication
-- slots and standbys; the age in transactions, and in seconds where it is known.
select h.kind, h.who, h.xids, h.seconds from (
    select 'session' as kind, concat_ws(' ', 'pid', a.pid, a.usename, nullif(a.application_name, ''), a.state) as who,
        age(a.backend_xmin)::bigint as xids, extract(epoch from clock_timestamp() - a.xact_start)::double precision as seconds
    from pg_stat_activity as a
    where a.backend_xmin is not null and a.pid <> pg_backend_pid() and a.backend_type <> 'walsender'
    union all
    select 'prepared transaction', p.gid, age(p.transaction)::bigint,
        extract(epoch from clock_timestamp() - p.prepared)::double precision
    from pg_prepared_xacts as p where p.database = current_database()
    union all
    select 'replication slot', s.slot_name, greatest(age(s.xmin), age(s.catalog_xmin))::bigint, null
    from pg_replication_slots as s where s.xmin is not null or s.catalog_xmin is not null
    union all
    select 'standby', coalesce(nullif(r.application_name, ''), r.client_addr::text, r.pid::text),
        age(r.backend_xmin)::bigint, null
    from pg_stat_replication as r where r.backend_xmin is not null
) as h order by h.xids desc limit 20
