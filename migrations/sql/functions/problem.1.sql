-- What is wrong with a task that is to be enqueued: "SQLSTATE|message|hint", or null if it is right.
-- Says field and limit, never content. now_at: where a task that has expired already is to be refused. Without a sub-select, so that the planner can put it in line.
create function perdure.problem(
    name text, metadata jsonb, queue text, priority integer, run_at timestamptz, tags text[],
    requires text[], headers jsonb, max_retries integer, retry_delays double precision[],
    unique_key text, metadata_bytes bigint, delay interval default null,
    unique_policy text default 'keep', execution_metadata jsonb default null,
    checkpoint_bytes bigint default null, expires_at timestamptz default null, deadline_at timestamptz default null,
    unique_for interval default null, max_delay interval default null, now_at timestamptz default null
) returns text language sql stable as $$
    select case
        -- A bound in the expression would make it ten times as slow.
        when name !~ '^[A-Za-z0-9][A-Za-z0-9._:/-]*$' or char_length(name) > 200
            then 'PD004|name is not valid|1 to 200 letters, digits and . _ : / -, beginning with a letter or digit'
        when starts_with(name, 'singleton:') and unique_key is distinct from name
            then 'PD004|a name that begins with singleton: needs itself as its unique key|workers put it when they start'
        when jsonb_typeof(metadata) <> 'object'
            then 'PD004|metadata must be a JSON object|wrap the value: {"value": ...}'
        when octet_length(metadata::text) > metadata_bytes
            then 'PD002|metadata is larger than ' || metadata_bytes || ' bytes|store it elsewhere and send a reference, or raise limits.metadata_bytes'
        when octet_length(metadata::text) > 130 and jsonb_path_exists(metadata, 'strict $.**{65}')
            then 'PD004|metadata is nested deeper than 64 levels|flatten it'
        when priority not between 0 and 9
            then 'PD004|priority must be 0 to 9|0 is the most urgent, 5 the default'
        when run_at < '2000-01-01 00:00:00+00' or run_at >= '10000-01-01 00:00:00+00'
            then 'PD004|run_at must lie in the years 2000 to 9999|leave it out to run at once'
        when expires_at < '2000-01-01 00:00:00+00' or expires_at >= '10000-01-01 00:00:00+00'
            then 'PD004|expires_at must lie in the years 2000 to 9999|leave it out for no end'
        when expires_at <= now_at
            then 'PD004|expires_at has passed|give a time that lies ahead, or leave it out for no end'
        when deadline_at < '2000-01-01 00:00:00+00' or deadline_at >= '10000-01-01 00:00:00+00'
            then 'PD004|deadline_at must lie in the years 2000 to 9999|leave it out to wait for constraints'
        when char_length(queue) not between 1 and 128 or queue ~ '[[:cntrl:]]' or queue = '*'
            then 'PD004|queue is not valid|1 to 128 characters, no control characters'
        when unique_key is not null and (octet_length(unique_key) not between 1 and 500 or unique_key ~ '[[:cntrl:]]')
            then 'PD004|unique_key must have 1 to 500 bytes and no control characters|hash a longer key'
        when tags is not null and perdure.bad_words(tags, 32)
            then 'PD004|tags: at most 32, each of 1 to 128 characters|put the rest into metadata'
        when requires is not null and perdure.bad_words(requires, 32)
            then 'PD004|requires: at most 32, each of 1 to 128 characters|name fewer constraints'
        when headers is not null and (jsonb_typeof(headers) <> 'object' or octet_length(headers::text) > 8192)
            then 'PD004|headers must be a JSON object of at most 8192 bytes|put the rest into metadata'
        when headers is not null and jsonb_path_exists(headers, 'strict $.**{65}')
            then 'PD004|headers are nested deeper than 64 levels|flatten them'
        when max_retries < -1
            then 'PD004|max_retries must be 0 or more, or -1 for no limit|leave it out for the default'
        when cardinality(retry_delays) not between 1 and 100 or array_ndims(retry_delays) > 1 or not (0 <= all (retry_delays))
            or not (31536000 >= all (retry_delays)) or array_position(retry_delays, null) is not null
            then 'PD004|retry_delays: 1 to 100 numbers of seconds, each 0 to 31536000|leave it out for the default'
        when run_at is not null and delay is not null
            then 'PD004|run_at and delay exclude each other|give one of them'
        when delay < interval '0' or delay > interval '100 years'
            then 'PD004|delay must lie between 0 and 100 years|leave it out to run at once'
        when unique_policy is null or unique_policy not in ('keep', 'replace', 'append', 'update', 'reject')
            then 'PD004|unique_policy must be keep, replace, append, update or reject|keep is the default'
        when unique_key is null and (unique_policy <> 'keep' or unique_for is not null or max_delay is not null)
            then 'PD004|unique_policy, unique_for and max_delay say what becomes of a unique_key|give one'
        when unique_for < interval '0' or unique_for > interval '100 years'
            then 'PD004|unique_for must lie between 0 and 100 years|leave it out: the key is free when the task has ended'
        when max_delay < interval '0' or max_delay > interval '100 years'
            then 'PD004|max_delay must lie between 0 and 100 years|leave it out for no bound'
        when jsonb_typeof(execution_metadata) <> 'object'
            then 'PD004|execution_metadata must be a JSON object|leave it out for the default of its type'
        when octet_length(execution_metadata::text) > checkpoint_bytes
            then 'PD002|execution_metadata is larger than ' || checkpoint_bytes || ' bytes|raise limits.checkpoint_bytes'
        when execution_metadata is not null and jsonb_path_exists(execution_metadata, 'strict $.**{65}')
            then 'PD004|execution_metadata is nested deeper than 64 levels|flatten it'
    end
$$;
