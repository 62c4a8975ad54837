package main

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/alertmanager/featurecontrol"
	"github.com/prometheus/alertmanager/inhibit"
	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/provider/mem"
	"github.com/prometheus/alertmanager/silence"
	"github.com/prometheus/alertmanager/types"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
)

// No look falls on a time at which an alert begins or ends: which comes first is chance then.
const configuration = `
route:
  receiver: chat
  group_by: [alertname]
  group_wait: 31s
  group_interval: 5m
  repeat_interval: 21m
  routes:
    - {receiver: pager, matchers: [severity="critical"], continue: true, group_wait: 16s, repeat_interval: 33m}
    - {receiver: chat, matchers: [alertname="A"], group_by: [job], mute_time_intervals: [pause]}
    - {receiver: info, matchers: [alertname="B"], active_time_intervals: [pause]}
time_intervals:
  - name: pause
    time_intervals: [{times: [{start_time: "00:40", end_time: "01:30"}]}]
receivers: [{name: chat}, {name: pager}, {name: info}]
`

const hours = 4

// random makes firings, on the grid on which rules are evaluated.
func random(seed int64, start int64) []*Firing {
	draw := rand.New(rand.NewSource(seed))
	var made []*Firing
	for _, name := range []string{"A", "B", "C"} {
		for _, job := range []string{"a", "b", "c"} {
			severity := []string{"warning", "critical"}[draw.Intn(2)]
			labels := map[string]string{"alertname": name, "job": job, "severity": severity}
			for now := draw.Intn(200); now < hours*240; now += 1 + draw.Intn(60) {
				begin := start + int64(now)*15
				now += 1 + draw.Intn([]int{4, 40, 200}[draw.Intn(3)])
				made = append(made, &Firing{Alert: name, Labels: labels, Start: begin, End: start + int64(now)*15})
			}
		}
	}
	slices.SortStableFunc(made, func(a, b *Firing) int { return int(a.Start - b.Start) })
	return made
}

// recorder is a receiver that notes what it is told, but for what only says that something is over.
type recorder struct {
	name  string
	mutex *sync.Mutex
	told  map[string][2]map[model.Fingerprint]bool // what fires, what is over
	notes *[]string
}

func (r recorder) SendResolved() bool { return true }

func (r recorder) Notify(ctx context.Context, alerts ...*types.Alert) (bool, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	key, _ := notify.GroupKey(ctx)
	firing, over := map[model.Fingerprint]bool{}, map[model.Fingerprint]bool{}
	var names []string
	news, ends := false, false
	for _, alert := range alerts {
		if alert.Resolved() {
			over[alert.Fingerprint()] = true
			ends = ends || !r.told[key][1][alert.Fingerprint()]
			continue
		}
		names = append(names, string(alert.Labels["alertname"]))
		firing[alert.Fingerprint()] = true
		news = news || !r.told[key][0][alert.Fingerprint()]
	}
	r.told[key] = [2]map[model.Fingerprint]bool{firing, over}
	if len(firing) > 0 && (news || !ends) {
		slices.Sort(names)
		*r.notes = append(*r.notes, note(time.Now().Unix(), r.name, slices.Compact(names)))
	}
	return false, nil
}

func note(now int64, receiver string, alerts []string) string {
	return fmt.Sprint(seconds(now).Format(time.TimeOnly), " ", receiver, " ", alerts)
}

// original plays the firings through Alertmanager's dispatcher and its whole pipeline, in a clock of the test's.
func original(t *testing.T, r *routes, firings []*Firing, end int64) []string {
	log, registry, flags := promslog.NewNopLogger(), prometheus.NewRegistry(), featurecontrol.NoopFlags{}
	ctx, cancel := context.WithCancel(context.Background())
	marker := types.NewMarker(registry)
	provider, err := mem.NewAlerts(ctx, marker, time.Hour, 0, nil, log, registry, flags)
	check(t, err)
	known, err := nflog.New(nflog.Options{Retention: 120 * time.Hour, Logger: log, Metrics: registry})
	check(t, err)
	silences, err := silence.New(silence.Options{Retention: time.Hour, Logger: log, Metrics: registry})
	check(t, err)
	inhibitor := inhibit.NewInhibitor(provider, r.inhibits, marker, log)
	var notes []string
	integrations := map[string][]notify.Integration{}
	mutex := &sync.Mutex{}
	for _, name := range []string{"chat", "pager", "info"} {
		one := recorder{name, mutex, map[string][2]map[model.Fingerprint]bool{}, &notes}
		integrations[name] = []notify.Integration{notify.NewIntegration(one, one, "test", 0, name)}
	}
	pipeline := notify.NewPipelineBuilder(registry, flags).New(
		integrations, func() time.Duration { return 0 }, inhibitor, silence.NewSilencer(silences, marker, log),
		r.intervals, marker, known, nil,
	)
	dispatcher := dispatch.NewDispatcher(
		provider, r.tree, pipeline, marker, func(d time.Duration) time.Duration { return d }, time.Second, nil, log,
		dispatch.NewDispatcherMetrics(false, registry),
	)
	go inhibitor.Run()
	go dispatcher.Run(time.Now())
	synctest.Wait()
	feed(t, r, provider, firings, end)
	dispatcher.Stop()
	inhibitor.Stop()
	provider.Close()
	cancel()
	return notes
}

// feed tells of every alert when it begins and when it ends.
func feed(t *testing.T, r *routes, provider *mem.Alerts, firings []*Firing, end int64) {
	for now := time.Now().Unix(); now < end; now++ {
		for _, one := range firings {
			if one.Start == now || one.End == now {
				alert := &types.Alert{UpdatedAt: time.Now(), Alert: model.Alert{
					Labels: r.labels(one), StartsAt: seconds(one.Start), EndsAt: seconds(end + 3600),
				}}
				if one.End == now {
					alert.EndsAt = seconds(now)
				}
				check(t, provider.Put(context.Background(), alert))
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheModelOfNotificationsIsWhatAlertmanagerDoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alertmanager.yml")
	check(t, os.WriteFile(path, []byte(configuration), 0o600))
	r, err := loadRoutes(path, nil)
	check(t, err)
	total := 0
	for seed := range int64(40) {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now().Unix()
			end := start + hours*3600
			firings := random(seed, start)
			result := &Result{Firings: firings}
			r.reach(result, &Request{End: end})
			var modelled []string
			for _, one := range result.Notifications {
				slices.Sort(one.Alerts)
				modelled = append(modelled, note(one.Time, one.Receiver, one.Alerts))
			}
			notes := original(t, r, firings, end)
			slices.Sort(modelled)
			slices.Sort(notes)
			if !slices.Equal(modelled, notes) {
				t.Errorf("seed %d:\nmodel    %q\noriginal %q", seed, modelled, notes)
			}
			total += len(notes)
		})
	}
	t.Logf("%d notifications", total)
	if total < 3000 {
		t.Errorf("only %d notifications were compared", total)
	}
}
