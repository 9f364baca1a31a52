-- What tasks share their instances by: the name of the definition and, where field says one, the value of
-- that field of the metadata; a missing one is null. A long value is hashed: an index has no room for it.
create function perdure.instance_key(definition text, field text, metadata jsonb) returns text
    language sql immutable set search_path = pg_catalog, perdure, pg_temp as $$
    select case when field is null then definition
        else definition || ' ' || field || '=' || case when octet_length(v.value) > 200 then 'md5:' || md5(v.value) else v.value end end
    from (select coalesce((metadata #> string_to_array(field, '.'))::text, 'null') as value) as v
$$;
