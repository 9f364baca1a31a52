-- Ends a run, or moves a task that was not begun, as the move says; decides nothing. Locks the lease,
-- then reads, then acts: what is read before the lock may have changed while one waited for it.
-- Answers settled; busy: somebody holds the lease row, ask again; lost: the lease does not hold the
-- task any more; mail: there is other mail than the move knew (it comes along), decide again.
-- Its plans are kept by sessions: none made while the tables were empty may read full ones.
create function perdure.settle(lease uuid, task bigint, worker bigint, move jsonb)
    returns table (answer text, letters jsonb)
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp
    set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
    goal jsonb := move -> 'to';
    held bigint[];
    due timestamptz;
    obeyed bigint[] := array(select jsonb_array_elements(move -> 'obeyed')::bigint);
    rests boolean := goal ->> 'reason' = 'suspended' or obeyed <> '{}';
begin
    -- A handler that saves in transactions may have left one open, with the checkpoint that comes first.
    if 'true' in (move ->> 'abandoned', move ->> 'explicit') then
        select l.task_ids into held from perdure.leases as l where l.id = settle.lease for update skip locked;
    else
        select l.task_ids into held from perdure.leases as l where l.id = settle.lease for no key update skip locked;
    end if;
    if held is null and exists (select from perdure.leases as l where l.id = settle.lease) then
        return query select 'busy', null::jsonb;
        return;
    elsif held is null or not (task = any (held)) then
        return query select 'lost', null::jsonb;
        return;
    end if;

    select coalesce(jsonb_agg(to_jsonb(m) order by m.id), '[]') into letters
    from (
        select m.id, m.kind, m.body from perdure.mail as m
        where goal ->> 'state' is distinct from 'completed'
            and (m.task_id = settle.task and (m.kind in ('cancel', 'replaced') or rests and m.kind = 'proceed')
                or rests and m.wait_key = move ->> 'wait_key' and m.keep_until > (select clock_timestamp())
                    and perdure.sees((select t.enqueued_by from perdure.tasks as t where t.id = settle.task), m.posted_by))
        order by m.id for update
    ) as m;
    if jsonb_path_query_array(letters, '$[*].id') <> coalesce(move -> 'known', '[]') then
        return query select 'mail', letters;
        return;
    end if;

    perform perdure.cut(lease, held, task);
    insert into perdure.attempts (task_id, attempt, kind, reason, started_at, worker_id, error)
    select task, (move ->> 'attempt')::integer, move ->> 'run', move ->> 'run_reason',
        to_timestamp((move ->> 'started_at')::double precision), worker, nullif(move -> 'run_error', 'null')
    where move ->> 'run' is not null;
    perform perdure.note(task, move);
    if obeyed <> '{}' then
        insert into perdure.audit (actor, action, task_id, details)
        select m.posted_by, 'proceed', task, perdure.apply_signal(task, m.body, m.posted_at) from perdure.mail as m
        where m.kind = 'proceed' and m.id = any (obeyed) order by m.id;
        delete from perdure.mail as m where m.id = any (obeyed);
    end if;

    if goal ->> 'place' = 'ended' then
        perform perdure.finish_run(task, worker, move);
    elsif goal ->> 'place' = 'ready' then
        perform perdure.place(array[task], goal ->> 'reason');
    else
        due := coalesce((goal ->> 'until')::timestamptz,
            clock_timestamp() + make_interval(secs => (goal ->> 'delay')::double precision));
        perform perdure.place(array[task],
            case when goal ->> 'reason' = 'suspended' and due <= clock_timestamp() then 'until' else goal ->> 'reason' end,
            due, goal ->> 'wait_key');
    end if;
    return query select 'settled', null::jsonb;
end $$;
