-- Decides a unique key for a task that is about to be enqueued as new_id, or a later one, as the policy of the
-- call says. The key's row stays locked to the end of the transaction: a second enqueue of the key waits for
-- the first. Answers the task that the caller gets, what was done, and whether it was done before: a request
-- that comes again, as its answer was lost, is told of the task that it made or changed, and how.
create function perdure.hold_key(unique_key text, policy text, new_id bigint, request_id uuid, unique_for interval)
    returns table (task_id bigint, answer text, repeated boolean)
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
declare
    named record;
    holder bigint;
    place text;
    told text;
    recent boolean;
    after bigint[] := '{}';
begin
    insert into perdure.unique_keys as k (key, task_id, request_id, held_for)
    values (hold_key.unique_key, new_id, hold_key.request_id, hold_key.unique_for)
    on conflict (key) do update set key = excluded.key
    returning k.task_id as id, k.request_id as asked, k.answer as answered, k.held_for into named;
    task_id := named.id;
    answer := coalesce(named.answered, 'created');
    repeated := named.id <> new_id;
    if not repeated or named.asked = hold_key.request_id then
        return next;
        return;
    end if;
    -- Whoever ends while it is looked at may have waited for another of the key: look again. One that has
    -- been told to stop and does not run has nobody left to obey: it holds the key no more.
    loop
        holder := perdure.key_holder(hold_key.unique_key, named.id);
        -- Who is before it may be next.
        if policy = 'replace' or exists (
            select from perdure.mail as m where m.task_id = holder and m.kind in ('cancel', 'replaced'))
        then
            perform perdure.lock_line(array[holder]);
        end if;
        place := perdure.locate(holder);
        told := (select min(m.kind) from perdure.mail as m where m.task_id = holder and m.kind in ('cancel', 'replaced'));
        exit when place is null or place = 'lease' or place <> 'ended' and told is null;
        if place <> 'ended' then
            perform perdure.withdraw(holder, case told when 'cancel' then 'requested' else told end);
        end if;
    end loop;
    recent := place is null and exists (
        select from perdure.outcomes as o
        where o.task_id = named.id and o.finished_at > (select clock_timestamp()) - named.held_for);
    repeated := false;
    if policy = 'reject' and (recent or place is not null) then
        perform perdure.refuse('PD006|unique_key is held by task ' || case when recent then named.id else holder end
            || '|another unique_policy says what to do then: keep, replace, append or update');
    elsif policy = 'keep' and (recent or place is not null and told is null) then
        task_id := case when recent then named.id else holder end;
        answer := 'kept';
    elsif policy = 'update' and place is not null and told is null then
        task_id := holder;
        answer := 'updated';
        update perdure.unique_keys as k
        set task_id = holder, request_id = hold_key.request_id, answer = 'updated',
            held_for = coalesce(hold_key.unique_for, k.held_for)
        where k.key = hold_key.unique_key;
    else
        -- Drawn before the key was locked: whoever came in between has a later one, and key_holder goes by them.
        if new_id < named.id then
            new_id := nextval('tasks_id_seq');
        end if;
        task_id := new_id;
        answer := case when place is null then 'created' when policy = 'replace' then 'replaced'
            when policy = 'append' then 'appended' else 'created' end;
        if policy = 'replace' and place is not null then
            after := perdure.clear_line(holder);
        elsif place is not null then
            after := array[holder];
        end if;
        update perdure.unique_keys as k
        set task_id = new_id, request_id = hold_key.request_id, answer = nullif(hold_key.answer, 'created'),
            held_for = hold_key.unique_for
        where k.key = hold_key.unique_key;
        perform perdure.line_up(new_id, after, case policy when 'append' then 'serial' else 'replaces' end);
    end if;
    return next;
end $$;
