-- Two lists of constraint names as one sorted set: the key of a lane.
create function perdure.joined(one text[], other text[]) returns text[]
    language sql immutable set search_path = pg_catalog, perdure, pg_temp as $$
    select coalesce(array_agg(distinct word order by word), '{}')
    from unnest(coalesce(one, '{}') || coalesce(other, '{}')) as word
$$;
