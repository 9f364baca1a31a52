-- RFC 7396: objects are merged member by member, null removes, anything else replaces.
create function perdure.merge_patch(target jsonb, patch jsonb) returns jsonb
    language plpgsql immutable set search_path = pg_catalog, perdure, pg_temp as $$
declare
    member record;
    merged jsonb := case when jsonb_typeof(target) = 'object' then target else '{}' end;
begin
    if jsonb_typeof(patch) is distinct from 'object' then
        return patch;
    end if;
    for member in select key, value from jsonb_each(patch) loop
        if member.value = 'null' then
            merged := merged - member.key;
        else
            merged := jsonb_set(merged, array[member.key], perdure.merge_patch(merged -> member.key, member.value));
        end if;
    end loop;
    return merged;
end $$;
