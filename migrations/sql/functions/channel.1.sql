-- The NOTIFY channel of this schema; "_mail" is added for letters. Payloads stay empty. Not in SQL: that
-- would be planned anew in each transaction, and takes a tenth of a millisecond.
create function perdure.channel() returns text
    language plpgsql stable set search_path = pg_catalog, perdure, pg_temp as $$
begin
    return 'perdure_' || left(md5((current_schemas(false))[2]), 16);
end $$;
