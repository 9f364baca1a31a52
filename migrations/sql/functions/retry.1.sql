-- Runs a failed or cancelled task again with failures and crashes 0: retried; one that waits for its
-- retry at once: hastened. Else live, completed, key_taken, not_found: nothing has changed. A patch, or a
-- whole execution metadata, mends the checkpoint from which it goes on, as a proceed does.
create function perdure.retry(id bigint, patch jsonb default null, execution_metadata jsonb default null) returns text
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
declare
    signal jsonb := perdure.signal(retry.patch, retry.execution_metadata, null, null);
    brought jsonb;
    task record;
    place text;
    ended record;
begin
    select t.id, t.unique_key into task from perdure.tasks as t
    where t.id = retry.id and perdure.sees(t.enqueued_by);
    if not found then
        return 'not_found';
    end if;
    if task.unique_key is not null then
        -- Made if retention has removed it: what is not there cannot be locked against an enqueue.
        insert into perdure.unique_keys as k (key, task_id) values (task.unique_key, task.id)
        on conflict (key) do update set key = excluded.key;
    end if;
    place := perdure.locate(task.id);
    if place = 'waiting' and exists (select from perdure.waiting where task_id = task.id and reason = 'retry') then
        perform perdure.take_out(task.id, place);
        if signal <> '{}' then
            brought := perdure.apply_signal(task.id, signal);
        end if;
        perform perdure.place(array[task.id], 'retry');
        insert into perdure.audit (action, task_id, details) values ('retry', task.id, brought);
        return 'hastened';
    elsif place is distinct from 'ended' then
        return coalesce(case when place is not null then 'live' end, 'not_found');
    end if;
    select o.state, o.kind, o.attempt, o.started_at, o.finished_at, o.worker_id, o.error into ended
    from perdure.outcomes as o where o.task_id = task.id for update;
    if not found then
        return 'live';
    elsif ended.state = 'completed' then
        return 'completed';
    end if;
    if task.unique_key is not null then
        if perdure.key_holder(
                task.unique_key, (select k.task_id from perdure.unique_keys as k where k.key = task.unique_key)) is not null then
            return 'key_taken';
        end if;
        update perdure.unique_keys set task_id = task.id, request_id = null where key = task.unique_key;
    end if;
    delete from perdure.outcomes where task_id = task.id;
    insert into perdure.attempts (task_id, attempt, kind, reason, started_at, ended_at, worker_id, error)
    select task.id, ended.attempt, case ended.state when 'failed' then 'failure' else 'cancellation' end,
        ended.kind, ended.started_at, ended.finished_at, ended.worker_id, ended.error
    where ended.started_at is not null;
    -- An end that no run came to has no row there: the history has it from here, done by nobody.
    insert into perdure.audit (at, actor, action, task_id, details)
    select ended.finished_at, '', ended.state, task.id, jsonb_build_object('kind', ended.kind, 'error', ended.error)
    where ended.started_at is null;
    insert into perdure.progress (task_id, attempt, reason) values (task.id, ended.attempt, 'requeued')
    on conflict (task_id) do update
        set attempt = greatest(progress.attempt, excluded.attempt), failures = 0, crashes = 0, started_at = null;
    if signal <> '{}' then
        brought := perdure.apply_signal(task.id, signal);
    end if;
    perform perdure.forget_mail(task.id);
    perform perdure.place(array[task.id], 'requeued');
    insert into perdure.audit (action, task_id, details) values ('retry', task.id, brought);
    return 'retried';
end $$;
