-- One round trip that says "I live" and hears all that a worker has to know. Writes the worker's row
-- and removes leases of it that were emptied while a transaction held on to them. What it looks for
-- it looks up one by one: a join, planned while there was little, would read all there is later. looks_at
-- says when this worker looks again: who knows of something that is due before has to tell it (wake_at).
create function perdure.beat(
    worker bigint, running bigint[], lease_seconds double precision, held uuid[], problem text default null,
    looks_in double precision default null, satisfied text[] default '{}'
) returns table (
    alive boolean, at double precision, lost uuid[], letters jsonb, dead boolean, due_in double precision,
    unlaned boolean, mail boolean, paused jsonb, lanes integer, upkeep boolean, lease double precision, fire_in double precision,
    openings boolean, bounds jsonb, constraints jsonb, draining boolean
)
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp
    set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
    now_at timestamptz;
    due_at timestamptz := least((
        select w.due_at from perdure.waiting as w
        where w.due_at is not null and w.blockers = 0 order by w.due_at limit 1), (
        select a.at from perdure.alarms as a order by a.at limit 1));
    fire_at timestamptz := (
        select coalesce(s.look_at, clock_timestamp()) from perdure.schedules as s
        where s.state = 'active' or s.state = 'paused' and s.look_at is null order by s.look_at nulls first limit 1);
begin
    update perdure.workers as w
    set heartbeat_at = clock_timestamp(), running = beat.running, lease_seconds = beat.lease_seconds, problem = beat.problem,
        looks_at = least(clock_timestamp() + make_interval(secs => beat.looks_in), due_at, fire_at), satisfied = beat.satisfied
    where w.id = beat.worker returning w.draining into draining;
    alive := found;
    now_at := clock_timestamp();
    delete from perdure.leases where id = any (array(
        select l.id from perdure.leases as l
        where l.worker_id = beat.worker and l.task_ids = '{}' for update skip locked));
    at := extract(epoch from now_at);
    lost := array(
        select h from unnest(beat.held) as h where (select l.id from perdure.leases as l where l.id = h) is null);
    letters := (
        select jsonb_agg(jsonb_build_object('id', m.id, 'task_id', m.task_id, 'kind', m.kind) order by m.id)
        from perdure.leases as l cross join unnest(l.task_ids) as i
        cross join lateral (
            select min(m.id) as id, m.task_id, m.kind from perdure.mail as m
            where m.task_id = i and m.kind in ('cancel', 'replaced', 'follower')
            group by m.task_id, m.kind offset 0) as m
        where l.worker_id = beat.worker);
    dead := exists (
        select from perdure.workers as w where w.heartbeat_at
            not between now_at - make_interval(secs => w.lease_seconds) and now_at + make_interval(secs => w.lease_seconds));
    -- The shortest of all; 0 is that of a worker whose death was reported.
    lease := (select min(w.lease_seconds) from perdure.workers as w where w.lease_seconds > 0);
    due_in := extract(epoch from due_at - now_at);
    fire_in := extract(epoch from fire_at - now_at);
    unlaned := exists (select from perdure.ready as r where r.lane = 0)
        or exists (
            select from perdure.lanes as l
            cross join lateral (select from perdure.ready as r where r.lane = l.id limit 1) as r where l.stale);
    openings := exists (select from perdure.openings);
    mail := exists (select from perdure.mail);
    paused := (
        select jsonb_object_agg(q.name, q.stop_running) from perdure.queues as q where q.paused_at is not null);
    bounds := (
        select jsonb_object_agg(q.name, q.concurrency) from perdure.queues as q where q.concurrency is not null);
    constraints := (select jsonb_object_agg(c.name, c.satisfied) from perdure.constraints as c);
    -- How many, not the highest: one that was made earlier may be committed later.
    lanes := (select count(*) from perdure.lanes as l);
    upkeep := not exists (
        select from perdure.settings as s
        where s.key = 'upkeep_at' and (s.value #>> '{}')::timestamptz > now_at - interval '1 minute');
    return next;
end $$;
