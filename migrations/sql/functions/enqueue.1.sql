-- Enqueues one task in the caller's transaction: it exists if and only if that commits. Answers its
-- id and what was done: created, kept (the key is held: that task's id), replaced. With a request_id of
-- its own an enqueue under a key may be repeated when its answer was lost: until another has taken the key
-- it makes one task, and answers as it did, also on a queue that is full by now.
create function perdure.enqueue(
    name text, metadata jsonb default '{}', queue text default null, priority integer default null,
    delay interval default null, run_at timestamptz default null, unique_key text default null,
    unique_policy text default 'keep', tags text[] default null, requires text[] default null,
    headers jsonb default null, max_retries integer default null,
    retry_delays double precision[] default null, execution_metadata jsonb default null,
    request_id uuid default null
) returns table (task_id bigint, answer text)
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
declare
    new_id bigint;
    due timestamptz;
    wrong text;
    metadata_bytes bigint;
    checkpoint_bytes bigint;
begin
    -- What can be seen of the row is looked at once, at the door; only the rest is looked at here, and all of it
    -- where the answer may be another task, or the table itself might refuse it: a smallint, an index.
    if enqueue.name is null or enqueue.metadata is null then
        perform perdure.refuse('PD004|name and metadata must not be null|leave metadata out for {}');
    end if;
    if enqueue.unique_key is not null or enqueue.unique_policy is distinct from 'keep' or enqueue.delay is not null
        or enqueue.execution_metadata is not null or enqueue.priority is not null or enqueue.tags is not null
    then
        metadata_bytes := perdure.setting('metadata_bytes');
        checkpoint_bytes := perdure.setting('checkpoint_bytes');
        wrong := perdure.problem(enqueue.name, enqueue.metadata, enqueue.queue, enqueue.priority, enqueue.run_at,
            enqueue.tags, enqueue.requires, enqueue.headers, enqueue.max_retries, enqueue.retry_delays,
            enqueue.unique_key, metadata_bytes, enqueue.delay, enqueue.unique_policy, enqueue.execution_metadata,
            checkpoint_bytes);
        if wrong is not null then
            perform perdure.refuse(wrong);
        end if;
    end if;
    due := coalesce(enqueue.run_at, clock_timestamp() + enqueue.delay);
    if exists (select from perdure.queues as q where q.max_depth is not null) then
        if enqueue.request_id is null or not exists (
            select from perdure.unique_keys as k
            where k.key = enqueue.unique_key and k.request_id = enqueue.request_id)
        then
            perform perdure.keep_depth(coalesce(
                enqueue.queue, (select y.queue from perdure.task_types as y where y.name = enqueue.name), 'default'));
        end if;
    end if;
    new_id := nextval('tasks_id_seq');
    task_id := new_id;
    answer := 'created';
    if enqueue.unique_key is not null then
        select h.task_id, h.answer into task_id, answer
        from perdure.hold_key(enqueue.unique_key, enqueue.unique_policy, new_id, enqueue.request_id) as h;
        if task_id <> new_id then
            return next;
            return;
        end if;
    end if;
    if enqueue.execution_metadata is not null then
        insert into perdure.progress (task_id, execution_metadata)
        values (enqueue.task_id, enqueue.execution_metadata);
    end if;
    insert into perdure.tasks (id, name, metadata, queue, priority, run_at, unique_key, tags, requires, headers,
        max_retries, retry_delays)
    values (enqueue.task_id, enqueue.name, enqueue.metadata, enqueue.queue, enqueue.priority, due,
        enqueue.unique_key, enqueue.tags, enqueue.requires, enqueue.headers, enqueue.max_retries, enqueue.retry_delays);
    return next;
end $$;
