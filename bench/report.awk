# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A group's runs as a Markdown table, its targets' verdicts (appended to the file verdicts), and a CSV file
# of medians, minima and maxima. After statistics.awk; -v group, targets, verdicts, csv.

BEGIN {
    figures_of["call"] = "p50 p99 p999 max rate"
    figures_of["notification"] = "rate p50 p99"
    figures_of["outstanding"] = "rate bytes"
    figures_of["streams"] = "rate threads"
    figures_of["start"] = "first rate threads bytes"
    figures_of["limits"] = "rate p50 p99"
    if (!(group in figures_of))
        figures_of[group] = "rate"
    figure_count = split(figures_of[group], figure_name, " ")
    unit["rate"] = "per second"
    unit["cpu"] = "CPU"
    unit["p50"] = "p50, µs"
    unit["p99"] = "p99, µs"
    unit["p999"] = "p99.9, µs"
    unit["max"] = "maximum, µs"
    unit["first"] = "µs"
    unit["bytes"] = "bytes"
    unit["threads"] = "threads"
    x_is["fio"] = "depth"
    x_is["size"] = "bytes"
    x_is["call"] = x_is["notification"] = "depth"
    x_is["lists"] = x_is["pollers"] = "entries"
    while ((getline line < targets) > 0) {
        if (line ~ /^(#|$)/)
            continue
        split(line, word, "|")
        if (word[1] == group) {
            n = ++target_count[word[2], word[3], word[4]]
            target[word[2], word[3], word[4], n] = word[5] "|" word[6] "|" word[7]
        }
    }
}

function number(v) {
    if (v >= 9995000) return sprintf("%.1f M", v / 1e6)
    if (v >= 9995) return sprintf("%.0fk", v / 1e3)
    if (v >= 1000) return sprintf("%.1fk", v / 1e3)
    if (v >= 99.5) return sprintf("%.0f", v)
    if (v >= 9.95) return sprintf("%.1f", v)
    if (v >= 0.0995) return sprintf("%.2f", v)
    return sprintf("%.3f", v)
}

# Of what summarize found.
function ratio() {
    return number(median) " (" number(least) "–" number(most) ")" (wide ? " *wide*" : "")
}

function figure_cell(key, side, figure) {
    if ((key, side) in note)
        return note[key, side]
    return measured(key, side, figure) ? number(median) : ""
}

function ratio_cell(key, other, figure) {
    return other && compared(key, "ours", key, other, figure) ? ratio() : ""
}

# With the median's verdict, unless the rounds disagree and spread too wide to say; and in how many rounds it was so.
function verdict(op, limit,    meets, share) {
    meets = op == ">=" ? median >= limit : median <= limit
    share = " (" share_of(op, limit) ")"
    if (wide && limit > least && limit < most)
        return "undecided: spread too wide" share
    return (meets ? "met" : "**not met**") share
}

function sign(op) { return op == ">=" ? "≥" : "≤" }

# One target of the form "peer|op|limit"; the peer may be absolute, or x=N: ours in the row with that x.
# What is missed is followed by what the best of the others reached in the same runs: the limit.
function judge(key, figure, text,    part, found, against, base, said, cell, raw) {
    split(text, part, "|")
    against = part[1]
    raw = best_raw(key)
    if (against == "absolute")
        found = measured(key, "ours", figure)
    else if (against ~ /^x=/)
        found = compared(key, "ours", title[key] SUBSEP substr(against, 3), "ours", figure)
    else
        found = compared(key, "ours", key, base = against == "raw" ? raw : against, figure)
    if (against == "raw")
        against = "best raw" (raw ? " (" raw ")" : "")
    said = found ? verdict(part[2], part[3]) : "not measured"
    cell = found ? ratio() : ""
    if (base && said !~ /^(met|not measured)/ && best_of_others(key, base, figure, part[2]) &&
        (part[2] == ">=" ? best > 1 : best < 1))
        said = said "; the best of the others: " number(best) " (" best_side ")"
    print "| " group " | " label(key) " | " unit[figure] " | " against " | " sign(part[2]) " " part[3] " | " \
        cell " | " said " |" >>verdicts
    return sign(part[2]) " " part[3] (against == "absolute" ? "" : " " against) (figure == "cpu" ? ", CPU" : "") ": " said
}

function target_cell(key, figure,    i, text, base) {
    base = title[key] SUBSEP x[key] SUBSEP figure
    for (i = 1; i <= target_count[base]; i++)
        text = text (text ? "; " : "") judge(key, figure, target[base, i])
    return text
}

function size_name(bytes) {
    if (bytes >= 1048576) return bytes / 1048576 " MiB"
    if (bytes >= 1024) return bytes / 1024 " KiB"
    return bytes " B"
}

function label(key) {
    if (group == "size")
        return title[key] ", " size_name(x[key])
    if (group == "start")
        return title[key]
    return title[key] ", " (group in x_is ? x_is[group] " " x[key] : x[key])
}

function first_side(    i) {
    for (i = 1; i <= sides; i++)
        if (present[side_name[i]])
            return side_name[i]
}

function heading(    i, line, rule) {
    line = "| row | page cache | |"
    rule = "| --- | --- | --- |"
    for (i = 1; i <= sides; i++)
        if (present[side_name[i]]) {
            line = line " " side_name[i] " |"
            rule = rule " ---: |"
        }
    if (!present["ours"]) {
        print line " CPU: " first_side() " |"
        print rule " ---: |"
        return
    }
    line = line " ours / glibc |"
    rule = rule " --- |"
    if (raw_present) {
        line = line " ours / best raw |"
        rule = rule " --- |"
    }
    if (present["psync"]) {
        line = line " ours / psync |"
        rule = rule " --- |"
    }
    line = line " CPU: glibc | ours |" (raw_present ? " best raw |" : "") " ours / glibc | way | target |"
    rule = rule " ---: | ---: |" (raw_present ? " ---: |" : "") " --- | --- | --- |"
    print line
    print rule
}

function row_line(key, figure, first,    i, line, raw) {
    raw = best_raw(key)
    line = "| " (first ? label(key) : "") " | " (first && cache[key] != "none" ? cache[key] : "") " | " unit[figure] " |"
    for (i = 1; i <= sides; i++)
        if (present[side_name[i]])
            line = line " " figure_cell(key, side_name[i], figure) " |"
    if (!present["ours"]) {
        print line " " (first ? figure_cell(key, first_side(), "cpu") : "") " |"
        return
    }
    line = line " " ratio_cell(key, "glibc", figure) " |"
    if (raw_present)
        line = line " " ratio_cell(key, raw, figure) " |"
    if (present["psync"])
        line = line " " ratio_cell(key, "psync", figure) " |"
    if (first)
        line = line " " figure_cell(key, "glibc", "cpu") " | " figure_cell(key, "ours", "cpu") " |" \
            (raw_present ? " " figure_cell(key, raw, "cpu") " |" : "") " " ratio_cell(key, "glibc", "cpu") " | " \
            way[title[key], x[key]] " |"
    else
        line = line (raw_present ? "  |" : "") "  |  |  |  |"
    text = target_cell(key, figure)
    if (first) {
        cpu_text = target_cell(key, "cpu")
        text = text (text && cpu_text ? "; " : "") cpu_text
    }
    print line " " text " |"
}

# Ours, or where it has no part in the group any other.
function any_has(key, figure,    s) {
    if (present["ours"])
        return (key, "ours", figure) in has
    for (s = 1; s <= sides; s++)
        if ((key, side_name[s], figure) in has)
            return 1
    return 0
}

function write_csv(key,    i, j, all, names) {
    all = split("rate cpu p50 p99 p999 max first bytes threads", names, " ")
    for (i = 1; i <= sides; i++)
        for (j = 1; j <= all; j++)
            if (measured(key, side_name[i], names[j]))
                printf "\"%s\",%s,%s,%s,%s,%.6g,%.6g,%.6g\n", title[key], x[key], cache[key], side_name[i], names[j],
                    median, least, most >csv
}

END {
    raw_present = present["libaio"] || present["io_uring"]
    heading()
    print "row,x,page cache,side,figure,median,minimum,maximum" >csv
    for (i = 1; i <= rows; i++) {
        first = 1
        for (f = 1; f <= figure_count; f++)
            if (any_has(order[i], figure_name[f]) && !(figure_name[f] == "rate" && (order[i], "ours", "first") in has)) {
                row_line(order[i], figure_name[f], first)
                first = 0
            }
        write_csv(order[i])
    }
}
