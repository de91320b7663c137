// Netd connects a node's pods: it writes the CNI configuration of this node's own pod range, keeps a route to
// every other node's range, and masquerades what leaves the pod network. Each node runs one, on the host's network.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

const (
	confPath = "/etc/cni/net.d/10-kindstorm.conflist"
	resync   = 30 * time.Second
)

// conflist is the CNI chain of one node: a veth pair per pod, an address from the node's range, host ports.
func conflist(podCIDR string) ([]byte, error) {
	type object = map[string]any
	return json.MarshalIndent(object{
		"cniVersion": "0.4.0",
		"name":       "kindstorm",
		"plugins": []object{
			{
				"type":   "ptp",
				"ipMasq": false,
				"ipam": object{
					"type":    "host-local",
					"dataDir": "/run/cni-ipam-state",
					"routes":  []object{{"dst": "0.0.0.0/0"}},
					"ranges":  [][]object{{{"subnet": podCIDR}}},
				},
			},
			{"type": "portmap", "capabilities": object{"portMappings": true}},
		},
	}, "", "  ")
}

// writeWhole puts a file in place at once: a reader sees the old or the new, never half of it.
func writeWhole(path string, content []byte) error {
	if old, err := os.ReadFile(path); err == nil && string(old) == string(content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	temporary := path + ".tmp"
	if err := os.WriteFile(temporary, content, 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

func internalIP(node *corev1.Node) net.IP {
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			return net.ParseIP(address.Address)
		}
	}
	return nil
}

// apply brings this machine in line with one node: our own gives the CNI file, any other a route.
func apply(node *corev1.Node, self string) error {
	if node.Spec.PodCIDR == "" {
		return nil
	}
	if node.Name == self {
		content, err := conflist(node.Spec.PodCIDR)
		if err != nil {
			return err
		}
		return writeWhole(confPath, content)
	}
	gateway := internalIP(node)
	_, destination, err := net.ParseCIDR(node.Spec.PodCIDR)
	if err != nil || gateway == nil {
		return err
	}
	wanted := &netlink.Route{Dst: destination, Gw: gateway}
	present, err := netlink.RouteListFiltered(netlink.FAMILY_V4, wanted, netlink.RT_FILTER_DST|netlink.RT_FILTER_GW)
	if err != nil || len(present) == 1 {
		return err // nodes report every few seconds; what is right is left alone
	}
	return netlink.RouteReplace(wanted)
}

func withdraw(node *corev1.Node, self string) error {
	_, destination, err := net.ParseCIDR(node.Spec.PodCIDR)
	if err != nil || node.Name == self {
		return nil
	}
	return netlink.RouteDel(&netlink.Route{Dst: destination})
}

// masquerade makes pods speak with their node's address to everything that is not a pod.
func masquerade(podSubnet string) error {
	rule := []string{"POSTROUTING", "-s", podSubnet, "!", "-d", podSubnet,
		"-m", "comment", "--comment", "kindstorm: leaves the pod network", "-j", "MASQUERADE"}
	if exec.Command("iptables", append([]string{"-w", "-t", "nat", "-C"}, rule...)...).Run() == nil {
		return nil
	}
	out, err := exec.Command("iptables", append([]string{"-w", "-t", "nat", "-A"}, rule...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("iptables: %s: %w", strings.TrimSpace(string(out)), err)
	}
	return nil
}

func run(ctx context.Context, self, podSubnet string) error {
	config, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, resync)
	nodes := factory.Core().V1().Nodes().Informer()
	handle := func(object any) {
		if node, ok := object.(*corev1.Node); ok {
			if err := apply(node, self); err != nil {
				klog.ErrorS(err, "node not connected; the next resync tries again", "node", node.Name)
			}
		}
	}
	_, err = nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    handle,
		UpdateFunc: func(_, object any) { handle(object) },
		DeleteFunc: func(object any) {
			if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = last.Obj
			}
			if node, ok := object.(*corev1.Node); ok {
				if err := withdraw(node, self); err != nil {
					klog.ErrorS(err, "route not withdrawn", "node", node.Name)
				}
			}
		},
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	tick := time.NewTicker(resync)
	defer tick.Stop()
	for {
		if err := masquerade(podSubnet); err != nil {
			klog.ErrorS(err, "masquerading not set; the next resync tries again")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func main() {
	self, podSubnet := os.Getenv("NODE_NAME"), os.Getenv("POD_SUBNET")
	if self == "" || podSubnet == "" {
		klog.Fatal("NODE_NAME and POD_SUBNET must be set")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, self, podSubnet); err != nil {
		klog.Fatal(err)
	}
}
