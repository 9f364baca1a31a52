-- Whether an entry of enqueue_many is a name and metadata, and nothing else: three cheap looks, by which most
-- are let through. Without a search path, so that the planner can put it in line.
create function perdure.is_plain(entry jsonb) returns boolean language sql immutable as $$
    select jsonb_typeof(entry) = 'object' and jsonb_typeof(entry -> 'name') is not distinct from 'string'
        and jsonb_typeof(entry -> 'metadata') is not distinct from 'object' and entry - '{name,metadata}'::text[] = '{}'
$$;
