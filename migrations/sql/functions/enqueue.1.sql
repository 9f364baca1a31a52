-- Enqueues one task in the caller's transaction: it exists if and only if that commits. Answers its
-- id and what was done: created, kept, updated (the key is held: that task's id), replaced, appended. With a
-- request_id of its own an enqueue under a key may be repeated when its answer was lost: until another has
-- taken the key it makes or changes one task, and answers as it did, also on a queue that is full by now.
create function perdure.enqueue(
    name text, metadata jsonb default '{}', queue text default null, priority integer default null,
    delay interval default null, run_at timestamptz default null, unique_key text default null,
    unique_policy text default 'keep', tags text[] default null, requires text[] default null,
    headers jsonb default null, max_retries integer default null,
    retry_delays double precision[] default null, execution_metadata jsonb default null,
    request_id uuid default null, after jsonb default null, expires_at timestamptz default null,
    deadline_at timestamptz default null, unique_for interval default null, max_delay interval default null
) returns table (task_id bigint, answer text)
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
declare
    due timestamptz;
    wrong text;
    metadata_bytes bigint;
    checkpoint_bytes bigint;
    repeated boolean;
    follows boolean := false;
    doom text;
    because text;
begin
    -- What can be seen of the row is looked at once, at the door; only the rest is looked at here, and all of it
    -- where the answer may be another task, or the table itself might refuse it: a smallint, an index.
    if enqueue.name is null or enqueue.metadata is null then
        perform perdure.refuse('PD004|name and metadata must not be null|leave metadata out for {}');
    end if;
    if enqueue.unique_key is not null or enqueue.unique_policy is distinct from 'keep' or enqueue.delay is not null
        or enqueue.execution_metadata is not null or enqueue.priority is not null or enqueue.tags is not null
        or enqueue.unique_for is not null or enqueue.max_delay is not null or enqueue.expires_at is not null
    then
        metadata_bytes := perdure.setting('metadata_bytes');
        checkpoint_bytes := perdure.setting('checkpoint_bytes');
        wrong := perdure.problem(enqueue.name, enqueue.metadata, enqueue.queue, enqueue.priority, enqueue.run_at,
            enqueue.tags, enqueue.requires, enqueue.headers, enqueue.max_retries, enqueue.retry_delays,
            enqueue.unique_key, metadata_bytes, enqueue.delay, enqueue.unique_policy, enqueue.execution_metadata,
            checkpoint_bytes, enqueue.expires_at, enqueue.deadline_at, enqueue.unique_for, enqueue.max_delay, clock_timestamp());
        if wrong is not null then
            perform perdure.refuse(wrong);
        end if;
    end if;
    due := coalesce(enqueue.run_at, clock_timestamp() + enqueue.delay);
    if due is not null then
        due := least(due, clock_timestamp() + enqueue.max_delay);
    end if;
    if exists (select from perdure.queues as q where q.max_depth is not null) then
        if enqueue.request_id is null or not exists (
            select from perdure.unique_keys as k
            where k.key = enqueue.unique_key and k.request_id = enqueue.request_id)
        then
            perform perdure.keep_depth(coalesce(
                enqueue.queue, (select y.queue from perdure.task_types as y where y.name = enqueue.name), 'default'));
        end if;
    end if;
    task_id := nextval('tasks_id_seq');
    answer := 'created';
    if enqueue.unique_key is not null then
        select h.task_id, h.answer, h.repeated into task_id, answer, repeated
        from perdure.hold_key(
            enqueue.unique_key, enqueue.unique_policy, enqueue.task_id, enqueue.request_id, enqueue.unique_for) as h;
        if repeated or answer in ('kept', 'updated') then
            if answer = 'updated' and not repeated then
                perform perdure.say_again(task_id, enqueue.name, jsonb_build_object(
                    'metadata', enqueue.metadata, 'queue', enqueue.queue, 'priority', enqueue.priority,
                    'tags', enqueue.tags, 'requires', enqueue.requires, 'headers', enqueue.headers,
                    'max_retries', enqueue.max_retries, 'retry_delays', enqueue.retry_delays,
                    'expires_at', enqueue.expires_at, 'deadline_at', enqueue.deadline_at), due, enqueue.max_delay);
            end if;
            return next;
            return;
        end if;
    end if;
    if enqueue.execution_metadata is not null then
        insert into perdure.progress (task_id, execution_metadata)
        values (enqueue.task_id, enqueue.execution_metadata);
    end if;
    if enqueue.after is not null then
        select f.doom, f.because into doom, because from perdure.follow(enqueue.task_id, enqueue.after) as f;
        follows := exists (
            select from perdure.inputs as i join perdure.edges as e using (task_id, after_id) where i.task_id = enqueue.task_id);
        due := case when not follows or enqueue.run_at is not null then due end;
    end if;
    insert into perdure.tasks (id, name, metadata, queue, priority, run_at, unique_key, tags, requires, headers,
        max_retries, retry_delays, expires_at, deadline_at)
    values (enqueue.task_id, enqueue.name, enqueue.metadata, enqueue.queue, enqueue.priority, due,
        enqueue.unique_key, enqueue.tags, enqueue.requires, enqueue.headers, enqueue.max_retries, enqueue.retry_delays,
        enqueue.expires_at, enqueue.deadline_at);
    if follows and enqueue.delay is not null then
        update perdure.waiting set delay = least(enqueue.delay, enqueue.max_delay) where waiting.task_id = enqueue.task_id;
    elsif doom is not null then
        perform perdure.take_out(enqueue.task_id, perdure.locate(enqueue.task_id));
        perform perdure.end_unrun(enqueue.task_id, doom, 'dependency', because);
    end if;
    return next;
end $$;
