-- The first ranges of ids; from now on maintenance keeps some ahead.
do $$ begin perform perdure.keep_ranges(); end $$;
