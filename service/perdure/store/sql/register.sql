-- Makes the worker known. Its id was made by itself: asking again after a lost reply changes nothing.
insert into perdure.workers (id, name, host, pid, version, lease_seconds, queues, names, schedules, slots, draining)
values (%(id)s::bigint, %(name)s::text, %(host)s::text, %(pid)s::integer, %(version)s::text,
    %(lease_seconds)s::double precision, %(queues)s::text[], %(names)s::text[],
    %(schedules)s::text[], %(slots)s::integer, %(draining)s::boolean)
on conflict (id) do update set heartbeat_at = clock_timestamp()
