-- Bounds a queue: max_depth, beyond which enqueue raises PD005, and concurrency, how many of its tasks each
-- worker process runs at once. -1, where it is not said, leaves a bound as it is; null takes it away.
create function perdure.set_queue(name text, max_depth bigint default -1, concurrency integer default -1) returns text
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
begin
    perform perdure.check_queue(set_queue.name);
    if set_queue.name = '*' then
        perform perdure.refuse('PD004|bounds are set for one queue, not for *|set them for each queue');
    elsif set_queue.max_depth = -1 and set_queue.concurrency = -1 then
        perform perdure.refuse('PD004|nothing is said of what to set for one queue|say max_depth or concurrency; null takes a bound away');
    elsif set_queue.max_depth < -1 then
        perform perdure.refuse('PD004|max_depth must be 0 or more|null for no bound');
    elsif set_queue.concurrency < -1 or set_queue.concurrency = 0 then
        perform perdure.refuse('PD004|concurrency must be 1 or more|null for no bound; to run none, pause the queue');
    end if;
    insert into perdure.queues as q (name, max_depth, concurrency)
    values (set_queue.name, nullif(set_queue.max_depth, -1), nullif(set_queue.concurrency, -1))
    on conflict (name) do update set
        max_depth = case when set_queue.max_depth = -1 then q.max_depth else set_queue.max_depth end,
        concurrency = case when set_queue.concurrency = -1 then q.concurrency else set_queue.concurrency end,
        sampled_at = case when set_queue.max_depth = -1 then q.sampled_at end;
    insert into perdure.audit (action, details)
    values ('set_queue', jsonb_build_object('queue', set_queue.name)
        || case when set_queue.max_depth = -1 then '{}' else jsonb_build_object('max_depth', set_queue.max_depth) end
        || case when set_queue.concurrency = -1 then '{}' else jsonb_build_object('concurrency', set_queue.concurrency) end);
    return 'set';
end $$;
