-- What an edge makes of a follower when the task before it has come to that end: null, it goes on;
-- else how it ends, too.
create function perdure.verdict(rule text, state text) returns text language sql immutable as $$
    select case when rule = 'run' or state = 'completed' then null
        when rule = 'fail' and state = 'failed' then 'failed' else 'cancelled' end
$$;
