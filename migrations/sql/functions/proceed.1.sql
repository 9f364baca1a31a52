-- Lets a suspended task go on, with a merge patch or a whole new execution metadata, now or at a
-- time. Early signals are kept as mail. Answers proceeded, scheduled, kept, repeated, ended, not_found.
create function perdure.proceed(
    id bigint, patch jsonb default null, execution_metadata jsonb default null,
    run_at timestamptz default null, signal_key text default null
) returns text
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
declare
    signal jsonb := perdure.signal(proceed.patch, proceed.execution_metadata, proceed.run_at, proceed.signal_key);
begin
    if not exists (select from perdure.tasks as t where t.id = proceed.id and perdure.sees(t.enqueued_by)) then
        return 'not_found';
    end if;
    return perdure.deliver(proceed.id, signal);
end $$;
