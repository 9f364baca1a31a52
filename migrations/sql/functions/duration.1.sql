-- A length of time as messages say it: 90 s.
create function perdure.duration(span interval) returns text
    language sql immutable as $$ select trim_scale(extract(epoch from span)) || ' s' $$;
