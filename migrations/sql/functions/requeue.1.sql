-- What retry does with one task: retried, hastened, live, completed, key_taken, not_found, ended. It waits for those that it
-- follows and that live; anyway: how the others ended does not matter, else such an end keeps it as it is.
create function perdure.requeue(id bigint, signal jsonb, anyway boolean) returns text
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
declare
    brought jsonb;
    task record;
    place text;
    ended record;
    doom text;
begin
    select t.id, t.unique_key, t.schedule_key into task from perdure.tasks as t where t.id = requeue.id;
    if task.unique_key is not null then
        perform perdure.lock_keys(array[task.id]);
    end if;
    -- As an occurrence that lives again counts for the overlap of its schedule: locked in the order of a fire.
    perform from perdure.schedules as s where s.key = task.schedule_key for update;
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
    if task.unique_key is not null and perdure.key_holder(
        task.unique_key, (select k.task_id from perdure.unique_keys as k where k.key = task.unique_key)) is not null
    then
        return 'key_taken';
    end if;
    select l.doom into doom from perdure.link(task.id) as l;
    if doom is not null and not anyway then
        delete from perdure.edges where task_id = task.id;
        return 'ended';
    end if;
    if task.unique_key is not null then
        update perdure.unique_keys as k
        set task_id = task.id, request_id = null, answer = null,
            held_for = case when k.task_id = task.id then k.held_for end
        where k.key = task.unique_key;
    end if;
    -- Who follows it still, follows the end that it takes back.
    perform perdure.forget_mail(task.id);
    perform perdure.unblock(task.id);
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
    perform perdure.place(array[task.id], 'requeued');
    perform perdure.set_alarms(task.id);
    update perdure.schedules as s set oldest_live = task.id
    where s.key = task.schedule_key and s.oldest_live > task.id;
    insert into perdure.audit (action, task_id, details) values ('retry', task.id, brought);
    return 'retried';
end $$;
