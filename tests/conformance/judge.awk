# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Compares what the tests did with what they do on glibc.
#
#   awk -f judge.awk -v libraries="glibc kernel pool" -v wanted=RUNS baseline results
#
# baseline: TEST STATUS=COUNT...            as `run --record` writes it
# results:  LIBRARY TEST STATUS NOTE        one line a run
#
# What a test must do follows from its line in the baseline:
#
#   only PASS              PASS, in every run
#   only UNTESTED or       the same: the test is an empty shell, and nothing a library does
#   UNSUPPORTED            may turn a test into one
#   only FAIL or           PASS is welcome, FAIL and UNRESOLVED are accepted: these tests ask for
#   UNRESOLVED             what glibc does not do, some of them for what POSIX leaves open
#   several of these       the test races with the library: the rates are printed, and FAIL and
#                          UNRESOLVED are accepted too, but not in every run of a test that glibc
#                          passes more often than not
#
# glibc's crashes, which are what its races come to, count for nothing there: they are asked of nobody.
#
# CRASH, HANG and EXITn (a status that no test gives by itself) are failures everywhere but on
# glibc, whose own crashes are part of what is known about it; UNBOUND (the calls went to another
# library than the one under test) is a failure everywhere.

function skipped(status) { return status == "UNTESTED" || status == "UNSUPPORTED" }

function ordinary(status) { return status == "PASS" || status == "FAIL" || status == "UNRESOLVED" }

# What the baseline asks of a test: one status, or FAILS, or RACY.
function kind(test) {
    if (statuses[test] > 1)
        return "RACY"
    if (only[test] == "PASS" || skipped(only[test]))
        return only[test]
    return "FAILS"
}

function acceptable(test, status,    k) {
    k = kind(test)
    return k == "RACY" || k == "FAILS" ? ordinary(status) : status == k
}

# Did none of the runs pass, of a test that races, and mostly wins?
function always_lost(library, test) {
    return kind(test) == "RACY" && passes[test] * 2 > of[test] && !count[library, test, "PASS"]
}

# What the test printed in the run that was not acceptable.
function quote(file,    line) {
    while ((getline line < file) > 0)
        print "         " line
    close(file)
}

function rates(library, test,    i, text) {
    for (i = 1; i <= nseen[library, test]; i++)
        text = text " " seen[library, test, i] "=" count[library, test, seen[library, test, i]]
    return substr(text, 2)
}

/^#/ || NF == 0 { next }

FILENAME == ARGV[1] {
    tests[++ntests] = $1
    for (i = 2; i <= NF; i++) {
        split($i, part, "=")
        if (part[1] == "CRASH")
            continue
        statuses[$1]++
        only[$1] = part[1]
        of[$1] += part[2]
        if (part[1] == "PASS")
            passes[$1] = part[2]
    }
    expected[$1] = substr($0, length($1) + 2)
    next
}

{
    if (!($2 in expected)) {
        printf "FAILED   %-8s %-18s is not in the baseline\n", $1, $2
        bad++
        next
    }
    if (!count[$1, $2, $3]++)
        seen[$1, $2, ++nseen[$1, $2]] = $3
    runs[$1, $2]++
    if (!acceptable($2, $3) && !(($1, $2) in wrong)) {
        wrong[$1, $2] = $3
        where[$1, $2] = $4
    }
}

END {
    nlibraries = split(libraries, library, " ")
    for (l = 1; l <= nlibraries; l++) {
        name = library[l]
        passed = failed = untested = short = 0
        for (t = 1; t <= ntests; t++) {
            test = tests[t]
            if (runs[name, test] != wanted) {
                printf "FAILED   %-8s %-18s ran %d times, not %d\n", name, test, runs[name, test], wanted
                failed++
            } else if ((name, test) in wrong && name == "glibc" && !skipped(wrong[name, test]) &&
                       wrong[name, test] != "UNBOUND") {
                # The machine's load can bring out one more of glibc's races; it says nothing
                # about us, and our own runs are held to the baseline all the same.
                printf "note     %-8s %-18s %s, in the baseline %s\n", name, test, \
                    rates(name, test), expected[test]
                short++
            } else if (name != "glibc" && !((name, test) in wrong) && always_lost(name, test)) {
                printf "FAILED   %-8s %-18s %s, and PASS not once, on glibc %s\n", name, test, \
                    rates(name, test), expected[test]
                failed++
            } else if ((name, test) in wrong) {
                printf "FAILED   %-8s %-18s %s, on glibc %s: see %s\n", name, test, \
                    rates(name, test), expected[test], where[name, test]
                quote(where[name, test])
                failed++
            } else if (skipped(kind(test)))
                untested++
            else if (count[name, test, "PASS"] == runs[name, test])
                passed++
            else
                short++
            if (kind(test) == "RACY" && !((name, test) in wrong))
                printf "racy     %-8s %-18s %s, on glibc %s\n", name, test, \
                    rates(name, test), expected[test]
        }
        summary[l] = sprintf("%-8s %d passed, %d failed, %d not passed but accepted (as on glibc), %d untested", \
            name, passed, failed, short, untested)
        if (name != "glibc") {
            all_passed += passed
            all_untested += untested
        }
        all_failed += failed
    }
    print ""
    for (l = 1; l <= nlibraries; l++)
        print summary[l]
    printf "conformance: %d passed, %d failed, %d untested\n", \
        all_passed, all_failed + bad, all_untested
    exit all_failed + bad > 0
}
