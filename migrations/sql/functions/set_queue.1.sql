-- Sets the depth beyond which enqueue raises PD005 for a queue; null takes the bound away.
create function perdure.set_queue(name text, max_depth bigint default null) returns text
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
begin
    perform perdure.check_queue(set_queue.name);
    if set_queue.max_depth < 0 or set_queue.name = '*' then
        perform perdure.refuse('PD004|max_depth must be 0 or more, for one queue|leave it out for no bound');
    end if;
    insert into perdure.queues as q (name, max_depth) values (set_queue.name, set_queue.max_depth)
    on conflict (name) do update set max_depth = excluded.max_depth, sampled_at = null;
    insert into perdure.audit (action, details)
    values ('set_queue', jsonb_build_object('queue', set_queue.name, 'max_depth', set_queue.max_depth));
    return 'set';
end $$;
