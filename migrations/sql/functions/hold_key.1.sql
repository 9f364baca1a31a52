-- Decides a unique key for a task that is about to be enqueued as new_id. The key's row stays locked
-- to the end of the transaction: a second enqueue of the key waits for the first. Answers the task
-- that the caller gets, what was done, and the tasks that the new one has to wait for. A request that
-- comes again, as its first answer was lost, is told of the task that it made, and what was done then.
create function perdure.hold_key(unique_key text, policy text, new_id bigint, request_id uuid)
    returns table (task_id bigint, answer text, after bigint[])
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
declare
    named bigint;
    holder bigint;
    asked uuid;
    answered text;
    place text;
    stopping boolean;
begin
    insert into perdure.unique_keys as k (key, task_id, request_id)
    values (hold_key.unique_key, new_id, hold_key.request_id)
    on conflict (key) do update set key = excluded.key
    returning k.task_id, k.request_id, k.answer into holder, asked, answered;
    task_id := new_id;
    answer := 'created';
    after := '{}';
    if holder <> new_id then
        if asked = hold_key.request_id then
            task_id := holder;
            answer := coalesce(answered, answer);
            return next;
            return;
        end if;
        -- Whoever ends while it is looked at may have waited for another of the key: look again.
        named := holder;
        loop
            holder := perdure.key_holder(hold_key.unique_key, named);
            place := perdure.locate(holder);
            exit when place is distinct from 'ended';
        end loop;
        stopping := place = 'lease' and exists (
            select from perdure.mail as m where m.task_id = holder and m.kind in ('cancel', 'replaced'));
        if place in ('ready', 'waiting', 'lease') and policy = 'keep' and not stopping then
            task_id := holder;
            answer := 'kept';
            return next;
            return;
        elsif place in ('ready', 'waiting') then
            after := array(select e.after_id from perdure.edges as e where e.task_id = holder order by e.after_id);
            perform perdure.withdraw(holder, 'replaced');
            answer := 'replaced';
        elsif place = 'lease' then
            after := array[holder];
            if policy = 'replace' then
                perform perdure.withdraw(holder, 'replaced');
                answer := 'replaced';
            end if;
        end if;
        update perdure.unique_keys
        set task_id = new_id, request_id = hold_key.request_id, answer = nullif(hold_key.answer, 'created')
        where key = hold_key.unique_key;
    end if;
    insert into perdure.edges (task_id, after_id, rule)
    select new_id, a, 'run' from unnest(after) as a;
    insert into perdure.mail (task_id, kind) select a, 'follower' from unnest(after) as a;
    return next;
end $$;
