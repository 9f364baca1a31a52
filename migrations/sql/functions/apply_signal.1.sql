-- Applies one proceed to the execution metadata of a task that is not running, and remembers its key.
create function perdure.apply_signal(task bigint, signal jsonb) returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
begin
    insert into perdure.progress as p (task_id, execution_metadata, signal_keys)
    values (task,
        coalesce(signal -> 'execution_metadata', perdure.merge_patch(null, nullif(signal -> 'patch', 'null'))),
        case when signal ->> 'signal_key' is not null then array[signal ->> 'signal_key'] end)
    on conflict (task_id) do update set
        execution_metadata = case
            when signal ? 'execution_metadata' then signal -> 'execution_metadata'
            when coalesce(signal -> 'patch', 'null') = 'null' then p.execution_metadata
            else perdure.merge_patch(p.execution_metadata, signal -> 'patch') end,
        signal_keys = case when excluded.signal_keys is null then p.signal_keys
            else (p.signal_keys || excluded.signal_keys)[greatest(1, coalesce(cardinality(p.signal_keys), 0) - 98):] end;
end $$;
