-- What an autoscaler wants to know of a queue: due plus running.
create function perdure.queue_depth(queue text) returns bigint
    language sql stable security definer set search_path = pg_catalog, perdure, pg_temp as $$
    select perdure.depth(queue)
$$;
