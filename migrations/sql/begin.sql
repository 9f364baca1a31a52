-- How every migrate and grant begins: settings that no default of the server can spoil, then the lock.
-- The search path names the schema, so the lock is one per schema; both end with the transaction, because
-- session state leaks behind poolers. pg_catalog stands first: an unqualified create fails instead of straying.
set transaction isolation level read committed, read write;
set local standard_conforming_strings = on;
set local check_function_bodies = on;
set local statement_timeout = 0;
set local search_path = pg_catalog, perdure, pg_temp;
set local lock_timeout = '60s';
select pg_advisory_xact_lock(hashtextextended('perdure migrate ' || current_setting('search_path'), 0));
-- From here a wait holds up everybody behind it: short, and tried again.
set local lock_timeout = '2s';
