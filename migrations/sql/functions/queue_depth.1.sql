-- What an autoscaler wants to know of one queue: due plus running. 0 for one that was never used.
create function perdure.queue_depth(queue text) returns bigint
    language plpgsql stable security definer set search_path = pg_catalog, perdure, pg_temp as $$
begin
    perform perdure.check_queue(queue);
    if queue = '*' then
        perform perdure.refuse('PD004|queue must be one queue, not *|queue_states has a row for each');
    end if;
    return perdure.depth(queue);
end $$;
