-- Runs all that match again, or only counts them: see the function.
select perdure.retry_where(
    %(name)s::text, %(state)s::text, %(since)s::timestamptz, %(error_type)s::text, %(dry_run)s::boolean)
