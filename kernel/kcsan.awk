# Of the reports of KCSAN in a guest's log, prints those that are about the series in kernel/, and exits with 1
# if there is one. A report is about the series if one of its functions made one of the two accesses or called
# the function that did, or if both accesses were made on the way from its functions (what an interrupt came upon
# is not on its way). The rest are races that the kernel has without the series: they are only counted.
#
# usage: awk -f kcsan.awk LOG

function is_ours(name) {
	return name ~ /^(aio_(read|write|sync|defer|worker|ctx_wq|queue_sync)|iocb_(put|destroy)|folio_lock_async_cancel|filemap_start_read|trace_event_raw_event_aio)/
}

function end_report(i, inner, both) {
	for (i = 1; i <= accesses; i++) {
		inner += inner_frame[i]
		both += any_frame[i]
	}
	total++
	if (inner || both > 1) {
		ours++
		print report
	}
	inside = 0
}

# The serial line's carriage return, and the time.
{ line = $0; sub(/\r$/, "", line); sub(/^\[ *[0-9.]+\] /, "", line) }

line ~ /BUG: KCSAN: / {
	if (inside)
		end_report()
	inside = 1; accesses = frames = 0; report = ""
	delete inner_frame; delete any_frame
}
inside && line ~ /^=====/ { end_report(); next }
inside { report = report line "\n" }
inside && line ~ /^(read|write|read-write|assert).* (to|of|at) 0x|^(read|write|read-write).* by (task|interrupt)|^race at unknown origin/ {
	accesses++; frames = 0
	next
}
inside && (line ~ /^Reported by/ || line ~ /^ asm_(sysvec_|common_interrupt)/) { frames = 1000 }
inside && accesses && line ~ /^ [a-zA-Z_]/ {
	frames++
	split(line, part, /[ +]/)
	if (frames < 1000 && is_ours(part[2])) {
		any_frame[accesses] = 1
		if (frames <= 2)
			inner_frame[accesses] = 1
	}
}
END {
	if (inside)
		end_report()
	printf "%d data races, %d of them in the series\n", total, ours
	exit ours > 0
}
