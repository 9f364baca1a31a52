-- PD005 for a queue that is full. The depth is sampled, at most once a second, by whoever enqueues
-- first after that; nobody waits for another's sample.
create function perdure.keep_depth(queue_name text) returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    bound record;
begin
    select q.max_depth, q.depth, q.sampled_at into bound
    from perdure.queues as q where q.name = queue_name and q.max_depth is not null;
    if not found then
        return;
    end if;
    -- One that lies ahead is of before the clock was set back.
    if bound.sampled_at is null
        or bound.sampled_at not between clock_timestamp() - interval '1 second' and clock_timestamp()
    then
        bound.depth := perdure.depth(queue_name);
        update perdure.queues set depth = bound.depth, sampled_at = clock_timestamp()
        where name in (select q.name from perdure.queues as q where q.name = queue_name for update skip locked);
    end if;
    if bound.depth >= bound.max_depth then
        perform perdure.refuse('PD005|the queue has reached its max_depth of ' || bound.max_depth
            || '|try again later, add workers, or raise it with set_queue');
    end if;
end $$;
