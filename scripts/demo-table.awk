# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Reads the figures of scripts/demo (row,round,side,iops,p50,p99,requests,cpu,cpu per million) and
# prints one table of medians: both sides of each figure, and the median of the rounds' ratios; at the end
# what the third side, the limit, reached against glibc. -v raw, threads: what these sides are called.

function median(values, count,    i, j, held) {
    for (i = 2; i <= count; i++) {
        held = values[i]
        for (j = i - 1; j >= 1 && values[j] > held; j--)
            values[j + 1] = values[j]
        values[j + 1] = held
    }
    return count % 2 ? values[(count + 1) / 2] : (values[count / 2] + values[count / 2 + 1]) / 2
}

function side_median(row, side, figure,    i) {
    for (i = 1; i <= rounds; i++)
        list[i] = value[row, i, side, figure] + 0
    return median(list, rounds)
}

function ratio_median(row, side, figure,    i, base) {
    for (i = 1; i <= rounds; i++) {
        base = value[row, i, "glibc", figure] + 0
        list[i] = base > 0 ? value[row, i, side, figure] / base : 0
    }
    return median(list, rounds)
}

function cell(row, figure, format) {
    return sprintf(" |" format format " %6.2f", side_median(row, "glibc", figure),
        side_median(row, "ours", figure), ratio_median(row, "ours", figure))
}

function limit_cell(row,    side) {
    side = limit[row]
    return sprintf(" | %-10s %6.2f %6.2f", side == "raw" ? raw : side == "threads" ? threads : side,
        ratio_median(row, side, "iops"), ratio_median(row, side, "cpu"))
}

{
    if (!($1 in seen)) {
        seen[$1] = 1
        order[++rows] = $1
    }
    if ($3 != "glibc" && $3 != "ours")
        limit[$1] = $3
    value[$1, $2, $3, "iops"] = $4
    value[$1, $2, $3, "p50"] = $5
    value[$1, $2, $3, "p99"] = $6
    value[$1, $2, $3, "cpu"] = $9
}

END {
    printf "%-27s | %-23s | %-23s | %-23s | %-23s | %s\n", "", "IOPS", "p50 latency, us",
        "p99 latency, us", "CPU s / 10^6 requests", "the limit, to glibc"
    printf "%-27s", ""
    for (i = 1; i <= 4; i++)
        printf " | %7s %7s  %6s", "glibc", "ours", "ratio"
    printf " | %-10s %6s %6s\n", "", "IOPS", "CPU"
    for (i = 1; i <= rows; i++)
        printf "%-27s%s%s%s%s%s\n", order[i], cell(order[i], "iops", " %7.0f"), cell(order[i], "p50", " %7.0f"),
            cell(order[i], "p99", " %7.0f"), cell(order[i], "cpu", " %7.2f"), limit_cell(order[i])
}
