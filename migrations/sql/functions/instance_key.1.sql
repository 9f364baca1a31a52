-- What tasks share their instances by: the name of the definition and, where field says one, the value of
-- that field of the metadata; a missing one is null. A long value is hashed: an index has no room for it.
create function perdure.instance_key(definition text, field text, metadata jsonb) returns text
    language plpgsql immutable set search_path = pg_catalog, perdure, pg_temp as $$
declare
    said text;
begin
    if field is null then
        return definition;
    end if;
    said := coalesce((metadata #> string_to_array(field, '.'))::text, 'null');
    return definition || ' ' || field || '=' || case when octet_length(said) > 200 then 'md5:' || md5(said) else said end;
end $$;
