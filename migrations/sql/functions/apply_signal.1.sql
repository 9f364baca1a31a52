-- Applies one proceed, or what a retry brings, to the execution metadata of a task that is not running,
-- and remembers its key. Answers what the audit keeps: the signal, and what it has replaced. posted_at:
-- it has been kept as mail since; nobody is there any more who could be told that it is too large.
create function perdure.apply_signal(task bigint, signal jsonb, posted_at timestamptz default null) returns jsonb
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    before jsonb := (select execution_metadata from perdure.progress where task_id = task);
    after jsonb := case
        when signal ? 'execution_metadata' then signal -> 'execution_metadata'
        when signal ? 'patch' then perdure.merge_patch(before, signal -> 'patch')
        else before end;
begin
    if posted_at is null and octet_length(after::text) > perdure.setting('checkpoint_bytes') then
        perform perdure.refuse('PD002|the execution metadata would be larger than ' || perdure.setting('checkpoint_bytes')
            || ' bytes|store it elsewhere, or raise limits.checkpoint_bytes');
    end if;
    insert into perdure.progress as p (task_id, execution_metadata, signal_keys)
    values (task, after, case when signal ->> 'signal_key' is not null then array[signal ->> 'signal_key'] end)
    on conflict (task_id) do update set
        execution_metadata = excluded.execution_metadata,
        signal_keys = case when excluded.signal_keys is null then p.signal_keys
            else (p.signal_keys || excluded.signal_keys)[greatest(1, coalesce(cardinality(p.signal_keys), 0) - 98):] end;
    return signal
        || case when before is distinct from after and before is not null then jsonb_build_object('before', before) else '{}' end
        || case when posted_at is not null then jsonb_build_object('posted_at', posted_at) else '{}' end;
end $$;
