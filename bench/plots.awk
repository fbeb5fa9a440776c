# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A group's runs as a script for gnuplot that draws one SVG file: a series (rows of one title that differ in x)
# is a panel with a line for each side; single rows are one panel with a bar for each side. Medians,
# with minimum and maximum. After statistics.awk; -v group.

BEGIN {
    figure = "rate"
    axis = "per second"
    if (group == "call" || group == "notification") {
        figure = "p99"
        axis = group == "call" ? "p99 inside the call, µs" : "p99 until told, µs"
    } else if (group == "outstanding") {
        figure = "cpu"
        axis = "CPU, µs a request"
    } else if (group == "start") {
        figure = "cpu"
        axis = "CPU, µs"
    }
    color["glibc"] = "#888888"
    color["ours"] = "#c02020"
    color["libaio"] = "#2060c0"
    color["io_uring"] = "#20a040"
    color["psync"] = "#c09020"
    color["bare"] = "#000000"
    color["threads"] = "#8040a0"
    color["alone"] = "#c09020"
    color["busy"] = "#806000"
    x_is["fio"] = "depth"
    x_is["size"] = "bytes"
    x_is["many"] = "files or threads"
    x_is["outstanding"] = "outstanding"
    x_is["lists"] = x_is["pollers"] = "entries"
}

# gnuplot's enhanced text takes these for markup.
function plain(text) {
    gsub(/_/, "\\\\\\\\_", text)
    return text
}

function gather(    i, key) {
    for (i = 1; i <= rows; i++) {
        key = order[i]
        if (!(title[key] in points))
            series[++series_count] = title[key]
        member[title[key], ++points[title[key]]] = key
    }
    for (i = 1; i <= series_count; i++)
        if (points[series[i]] > 1 && group in x_is)
            lines[++line_count] = series[i]
        else
            for (j = 1; j <= points[series[i]]; j++)
                bars[++bar_count] = member[series[i], j]
}

function line_block(number, name,    i, s, key) {
    for (s = 1; s <= sides; s++) {
        printf "$line_%d_%d << END\n", number, s
        for (i = 1; i <= points[name]; i++) {
            key = member[name, i]
            if (measured(key, side_name[s], figure)) {
                print x[key], median, least, most
                drawn[number, s] = 1
            }
        }
        print "END"
    }
}

function line_panel(number, name,    s, text) {
    printf "set title \"%s\"\nset xlabel \"%s\"\nset ylabel \"%s\"\n", plain(name), x_is[group], axis
    print "set format y \"%.0s%c\"\nset logscale x" (group == "fio" ? " 2" : "") (group == "size" || group == "outstanding" ? "\nset logscale y" : "\nunset logscale y\nset yrange [0:*]")
    for (s = 1; s <= sides; s++)
        if (drawn[number, s])
            text = text (text ? ", " : "plot ") sprintf("$line_%d_%d using 1:2:3:4 with yerrorlines lw 2 pt 7 ps 0.4 lc rgb \"%s\" title \"%s\"",
                number, s, color[side_name[s]], plain(side_name[s]))
    print text
}

# The bars of a row stand side by side around its label.
function bar_block(    i, s, place, drawn_sides) {
    for (s = 1; s <= sides; s++)
        drawn_sides += present[side_name[s]]
    for (s = 1; s <= sides; s++) {
        place += present[side_name[s]]
        printf "$bar_%d << END\n", s
        for (i = 1; i <= bar_count; i++)
            if (measured(bars[i], side_name[s], figure)) {
                printf "%.3f %g %g %g\n", i + (place - (drawn_sides + 1) / 2) * 0.13, median, least, most
                bar_drawn[s] = 1
            }
        print "END"
    }
}

function bar_panel(    i, s, text, tics) {
    for (i = 1; i <= bar_count; i++)
        tics = tics (tics ? ", " : "") "\"" plain(title[bars[i]] (group == "start" ? "" : ", " x[bars[i]])) "\" " i
    printf "unset title\nunset xlabel\nset ylabel \"%s\"\nunset logscale x\nset logscale y\nset autoscale y\nset format y \"%%.0s%%c\"\n", axis
    printf "set xtics (%s) rotate by -25\nset xrange [0.4:%g]\nset bmargin 9\nset rmargin 18\n", tics, bar_count + 0.6
    print "set style fill solid 0.6"
    for (s = 1; s <= sides; s++)
        if (bar_drawn[s])
            text = text (text ? ", " : "plot ") sprintf("$bar_%d using 1:2:3:4:(0.12) with boxerrorbars lc rgb \"%s\" title \"%s\"",
                s, color[side_name[s]], plain(side_name[s]))
    print text
}

END {
    gather()
    for (i = 1; i <= line_count; i++)
        line_block(i, lines[i])
    bar_block()
    panels = line_count + (bar_count > 0)
    columns = panels > 1 && line_count > 0 ? 2 : 1
    height = int((panels + columns - 1) / columns)
    printf "set terminal svg size %d,%d enhanced background rgb \"white\" font \"sans,11\"\n", columns == 2 ? 1000 : 1000, \
        height * (bar_count && !line_count ? 420 : 300)
    printf "set multiplot layout %d,%d\nset grid y\nset key outside right top\n", height, columns
    for (i = 1; i <= line_count; i++)
        line_panel(i, lines[i])
    if (bar_count)
        bar_panel()
    print "unset multiplot"
}
