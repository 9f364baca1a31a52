-- Changes what was asked of a task; what is left out stays, and so do its id, its counters and its
-- checkpoint. clear: names of arguments whose defaults are to hold again. Answers applied, applied_next_run
-- (it runs: its next run, if there is one, sees it), not_applied (it has ended, or only a time was given and
-- it runs or is suspended), not_found. A producer updates its own tasks only.
create function perdure.update_task(
    id bigint, metadata jsonb default null, queue text default null, priority integer default null,
    delay interval default null, run_at timestamptz default null, tags text[] default null,
    requires text[] default null, headers jsonb default null, max_retries integer default null,
    retry_delays double precision[] default null, expires_at timestamptz default null,
    deadline_at timestamptz default null, clear text[] default null
) returns text
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
declare
    optional constant text[] :=
        '{queue,priority,tags,requires,headers,max_retries,retry_delays,expires_at,deadline_at}';
    due constant timestamptz := coalesce(update_task.run_at, clock_timestamp() + update_task.delay);
    changes jsonb := jsonb_strip_nulls(jsonb_build_object(
        'queue', update_task.queue, 'priority', update_task.priority, 'tags', update_task.tags,
        'requires', update_task.requires, 'max_retries', update_task.max_retries,
        'retry_delays', update_task.retry_delays, 'expires_at', update_task.expires_at,
        'deadline_at', update_task.deadline_at));
    wrong text := perdure.problem('a', coalesce(update_task.metadata, '{}'), update_task.queue, update_task.priority,
        update_task.run_at, update_task.tags, update_task.requires, update_task.headers, update_task.max_retries,
        update_task.retry_delays, null, perdure.setting('metadata_bytes'), update_task.delay,
        expires_at => update_task.expires_at, deadline_at => update_task.deadline_at, now_at => clock_timestamp());
begin
    -- Not stripped: a null in there is a value.
    if update_task.metadata is not null then
        changes := changes || jsonb_build_object('metadata', update_task.metadata);
    end if;
    if update_task.headers is not null then
        changes := changes || jsonb_build_object('headers', update_task.headers);
    end if;
    if not update_task.clear <@ optional or changes ?| update_task.clear then
        wrong := 'PD004|clear names arguments that are not given beside it|' || array_to_string(optional, ', ');
    elsif changes = '{}' and due is null and coalesce(update_task.clear, '{}') = '{}' then
        wrong := 'PD004|there is nothing to change|give metadata, queue, priority, delay or another argument';
    end if;
    if wrong is not null then
        perform perdure.refuse(wrong);
    end if;
    changes := changes || (select coalesce(jsonb_object_agg(c, null), '{}') from unnest(update_task.clear) as c);
    if not exists (select from perdure.tasks as t where t.id = update_task.id and perdure.sees(t.enqueued_by)) then
        return 'not_found';
    end if;
    return perdure.rewrite(update_task.id, changes, due);
end $$;
