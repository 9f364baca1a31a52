-- What is wrong with a schedule, as far as it can be said without a calendar: "SQLSTATE|message|hint". In
-- Python tasks/schedules.py says the same in the same words; a test compares them.
create function perdure.schedule_problem(
    key text, every interval, cron text, timezone text, once timestamptz, start_at timestamptz, end_at timestamptz,
    jitter interval, flex interval, misfire_grace interval, expires_after interval, catch_up text, max_catch_up integer,
    overlap text, policy text
) returns text language sql stable as $$
    select case
        when key is null or octet_length(key) not between 1 and 500 or key ~ '[[:cntrl:]]'
            then 'PD004|key must have 1 to 500 bytes and no control characters|name the schedule'
        when num_nonnulls(every, cron, once) <> 1
            then 'PD004|give exactly one of every, cron and once|every => interval ''1 hour'''
        when extract(month from every) <> 0 or extract(year from every) <> 0
            then 'PD004|every ' || every || ' is no fixed length of time|give days, or a cron expression: 0 0 1 * * is each month'
        when every > interval '36525 days'
            then 'PD004|every ' || perdure.duration(every) || ' must be at most 100 years|give a shorter interval'
        when every < interval '1 second'
            then 'PD004|every ' || perdure.duration(every) || ' must be at least 1 s|give a longer interval'
        when cron is not null and timezone is null
            then 'PD004|timezone must not be null|UTC is the default'
        when once is not null and num_nonnulls(start_at, end_at) > 0
            then 'PD004|once takes neither start_at nor end_at|leave them out'
        when end_at < start_at
            then 'PD004|end_at ' || end_at || ' is before start_at ' || start_at || '|leave one of them out'
        when least(once, start_at, end_at) < '2000-01-01 00:00:00+00' or greatest(once, start_at, end_at) >= '10000-01-01 00:00:00+00'
            then 'PD004|once, start_at and end_at must lie in the years 2000 to 9999|leave start_at and end_at out for none'
        when jitter is null or jitter < interval '0'
            then 'PD004|jitter ' || coalesce(perdure.duration(jitter), 'null') || ' must be 0 or more|leave it out for none'
        when flex is null or flex < interval '0'
            then 'PD004|flex ' || coalesce(perdure.duration(flex), 'null') || ' must be 0 or more|leave it out for none'
        when misfire_grace < interval '0'
            then 'PD004|misfire_grace ' || perdure.duration(misfire_grace) || ' must be 0 or more|leave it out for none'
        when expires_after < interval '0'
            then 'PD004|expires_after ' || perdure.duration(expires_after) || ' must be 0 or more|leave it out for none'
        when jitter >= every
            then 'PD004|jitter ' || perdure.duration(jitter) || ' must be smaller than the interval, ' || perdure.duration(every) || '|give less'
        when flex > every
            then 'PD004|flex ' || perdure.duration(flex) || ' must not be larger than the interval, ' || perdure.duration(every) || '|give less'
        when flex > interval '0' and jitter > flex
            then 'PD004|jitter ' || perdure.duration(jitter) || ' must not be larger than flex, ' || perdure.duration(flex) || '|give less'
        when catch_up is null or catch_up not in ('latest', 'all', 'skip')
            then 'PD004|catch_up ' || coalesce(catch_up, 'null') || ' must be latest, all or skip|latest is the default'
        when overlap is null or overlap not in ('skip', 'queue', 'cancel_previous', 'allow')
            then 'PD004|overlap ' || coalesce(overlap, 'null') || ' must be skip, queue, cancel_previous or allow|skip is the default'
        when catch_up = 'all' and overlap in ('skip', 'cancel_previous')
            then 'PD004|catch_up all with overlap ' || overlap || ' would lose all but one|give overlap queue or allow'
        when max_catch_up is null or max_catch_up not between 1 and 10000
            then 'PD004|max_catch_up ' || coalesce(max_catch_up::text, 'null') || ' must be 1 to 10000|100 is the default'
        when policy is null or policy not in ('update', 'keep', 'replace', 'reject')
            then 'PD004|policy ' || coalesce(policy, 'null') || ' must be update, keep, replace or reject|update is the default'
    end
$$;
