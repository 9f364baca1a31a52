-- Takes the tasks of workers whose beat is too old, by the database's clock, or lies so far ahead that
-- it is of before that was set back, to ready. Decides nothing: all tasks are marked recovered, and one
-- crash is added to those known to have started;
-- the others are marked as suspects: one of them may have killed the worker before a beat could say so.
-- The worker's row is locked first and its leases are read in a later statement: in the same one a
-- claim that has just committed would be missed. What a handler's open transaction holds is skipped
-- and comes with a later turn; the worker's row stays until then.
-- reported_only: those whose supervisor has seen them die; the others may only look dead, such as
-- after an outage, and who has not beaten for a while itself must not judge them.
create function perdure.recover(reported_only boolean default false)
    returns table (worker_id bigint, worker text, tasks integer, started integer)
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp
    set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
    gone record;
    held bigint[];
    begun bigint[];
begin
    for gone in
        select w.id, w.name, w.running, w.heartbeat_at from perdure.workers as w
        where w.heartbeat_at not between (select clock_timestamp()) - make_interval(secs => w.lease_seconds)
                and (select clock_timestamp()) + make_interval(secs => w.lease_seconds)
            and (not reported_only or w.lease_seconds = 0)
        order by w.id limit 10 for update skip locked
    loop
        with picked as materialized (
            select l.id, l.task_ids, l.claimed_at from perdure.leases as l
            where l.worker_id = gone.id order by l.id for update skip locked),
        removed as (delete from perdure.leases where id = any (array(select p.id from picked as p)))
        select coalesce(array_agg(i order by i), '{}'),
            coalesce(array_agg(i order by i) filter (where
                i = any (gone.running) and p.claimed_at <= gone.heartbeat_at
                or (select s.started_at from perdure.progress as s where s.task_id = i) is not null), '{}')
        into held, begun
        from picked as p cross join unnest(p.task_ids) as i;

        insert into perdure.progress as p (task_id, attempt, marks, crashes)
        select i, case when i = any (begun) then 1 else 0 end, case when i = any (begun) then 1 else 5 end, case when i = any (begun) then 1 else 0 end
        from unnest(held) as i order by i
        on conflict (task_id) do update set
            attempt = p.attempt + case when p.started_at is null then excluded.attempt else 0 end,
            crashes = p.crashes + excluded.crashes, marks = p.marks | excluded.marks;
        insert into perdure.attempts (task_id, attempt, kind, started_at, worker_id)
        select p.task_id, p.attempt, 'crash', p.started_at, gone.id
        from perdure.progress as p where p.task_id = any (begun);
        update perdure.progress set started_at = null where task_id = any (begun) and started_at is not null;
        if begun <> '{}' then
            perform perdure.place(begun, 'crash');
        end if;
        perform perdure.place(array(select i from unnest(held) as i where i <> all (begun) order by i));

        if not exists (select from perdure.leases as l where l.worker_id = gone.id) then
            delete from perdure.workers as w where w.id = gone.id;
        end if;
        worker_id := gone.id;
        worker := gone.name;
        tasks := cardinality(held);
        started := cardinality(begun);
        return next;
    end loop;
end $$;
