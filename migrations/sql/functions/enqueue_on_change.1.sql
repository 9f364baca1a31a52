-- For a row trigger of any table: each change enqueues a task of that name with the row as metadata,
-- in the same transaction. create trigger .. execute function enqueue_on_change('catalogue.import').
create function perdure.enqueue_on_change() returns trigger
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
begin
    if tg_nargs <> 1 then
        perform perdure.refuse('PD004|enqueue_on_change takes the name of one task|... enqueue_on_change(''catalogue.import'')');
    end if;
    perform perdure.enqueue(tg_argv[0], case when tg_op = 'DELETE' then to_jsonb(old) else to_jsonb(new) end);
    return null;
end $$;
