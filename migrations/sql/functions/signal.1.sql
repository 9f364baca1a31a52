-- The body of a proceed, checked: patch or whole, a time, a key. PD004 and PD002 change nothing.
create function perdure.signal(
    patch jsonb, execution_metadata jsonb, run_at timestamptz, signal_key text
) returns jsonb language plpgsql stable set search_path = pg_catalog, perdure, pg_temp as $$
begin
    if patch is not null and execution_metadata is not null then
        perform perdure.refuse('PD004|patch and execution_metadata exclude each other|give the merge patch or the whole');
    elsif jsonb_typeof(patch) <> 'object' then
        perform perdure.refuse('PD004|patch must be a JSON object|RFC 7396: null removes a member');
    elsif jsonb_typeof(execution_metadata) <> 'object' then
        perform perdure.refuse('PD004|execution_metadata must be a JSON object|give the whole object');
    elsif jsonb_path_exists(coalesce(patch, execution_metadata), 'strict $.**{65}') then
        perform perdure.refuse('PD004|patch and execution_metadata may be nested 64 levels deep|flatten it');
    elsif run_at < '2000-01-01 00:00:00+00' or run_at >= '10000-01-01 00:00:00+00' then
        perform perdure.refuse('PD004|run_at must lie in the years 2000 to 9999|leave it out to go on at once');
    elsif octet_length(signal_key) not between 1 and 500 then
        perform perdure.refuse('PD004|signal_key must have 1 to 500 bytes|hash a longer key');
    elsif greatest(octet_length(patch::text), octet_length(execution_metadata::text)) > perdure.setting('checkpoint_bytes') then
        perform perdure.refuse('PD002|the execution metadata is larger than ' || perdure.setting('checkpoint_bytes')
            || ' bytes|store it elsewhere, or raise limits.checkpoint_bytes');
    end if;
    return jsonb_strip_nulls(jsonb_build_object('run_at', run_at, 'signal_key', signal_key))
        || case when patch is not null then jsonb_build_object('patch', patch) else '{}' end
        || case when execution_metadata is not null
            then jsonb_build_object('execution_metadata', execution_metadata) else '{}' end;
end $$;
