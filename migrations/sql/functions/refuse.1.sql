-- Raises what perdure.problem found; with the position of the entry where there are several.
create function perdure.refuse(problem text, entry integer default null) returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
begin
    raise exception using
        errcode = split_part(problem, '|', 1),
        message = case when entry is null then '' else 'entry ' || entry || ': ' end || split_part(problem, '|', 2),
        hint = split_part(problem, '|', 3);
end $$;
