-- Looks at keys of which an instance may be free for who waits: see the function.
select perdure.serve_openings(%(at_most)s::integer)
