-- PD004 for a name that no queue can have; '*' means all queues.
create function perdure.check_queue(queue_name text) returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
begin
    if queue_name is null or char_length(queue_name) not between 1 and 128 or queue_name ~ '[[:cntrl:]]' then
        perform perdure.refuse('PD004|queue is not valid|1 to 128 characters, no control characters; * for all');
    end if;
end $$;
